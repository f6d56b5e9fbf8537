"""What the trainer writes to disk: checkpoints, and who trains what."""

import subprocess

import pytest

from services.trainer.rank.checkpoint_folder import CheckpointFolder, CheckpointState
from services.trainer.rank.deal import deal_groups
from shared.errors import UserError


def test_an_unfinished_checkpoint_does_not_count(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.begin()
    folder.commit(CheckpointState(1, 5, {"g": "trained:5"}))
    (folder.begin() / "half").write_text("killed here")

    path, state = folder.latest()

    assert path.name == "step-000005"
    assert state == CheckpointState(1, 5, {"g": "trained:5"})


def test_a_checkpoint_that_another_host_does_not_see_is_named(tmp_path):
    checkpoints = CheckpointFolder(tmp_path, keep=2)
    checkpoints.begin()
    seen = checkpoints.commit(CheckpointState(incarnation=1, step=4, settled={}))
    assert checkpoints.of_step(4) == seen
    with pytest.raises(
        UserError, match=r"step-000005: .*it is not on this host; --run-dir must be"
    ):
        checkpoints.of_step(5)


def test_old_checkpoints_are_deleted(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (1, 2, 3):
        folder.begin()
        folder.commit(CheckpointState(1, step, {}))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000003"]


def test_a_broken_checkpoint_is_named_with_the_mend(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.begin()
    (folder.commit(CheckpointState(1, 7, {})) / "state.json").write_text("{")

    with pytest.raises(UserError, match="delete step-000007 to resume"):
        folder.latest()


def _sealed(tmp_path, *steps):
    folder = CheckpointFolder(tmp_path, keep=3)
    for step in steps:
        part = folder.begin() / "engine" / "rank0.pt"
        part.parent.mkdir()
        part.write_bytes(bytes(1000))
        folder.commit(CheckpointState(1, step, {}))
    return folder


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            lambda folder: (folder / "engine" / "rank0.pt").write_bytes(bytes(999)),
            "rank0.pt",
        ),
        (lambda folder: (folder / "engine" / "rank0.pt").unlink(), "rank0.pt is missing"),
        (lambda folder: (folder / "state.json").write_text("{"), "state.json does not match"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS cannot be read"),
        (lambda folder: (folder / "SHA256SUMS").write_text(""), "state.json is missing"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path, damage, named):
    folder = _sealed(tmp_path, 1, 2)
    damage(tmp_path / "step-000002")

    [line] = folder.set_damaged_aside()

    assert named in line
    assert line.endswith("renamed to damaged-step-000002")
    assert folder.latest()[1].step == 1
    assert (tmp_path / "damaged-step-000002").is_dir(), "nothing is deleted"
    assert folder.set_damaged_aside() == []


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_again_unasked(tmp_path):
    folder = _sealed(tmp_path, 1)
    (tmp_path / "step-000001" / "state.json").unlink()

    with pytest.raises(UserError, match=r"no sound checkpoint is left.*to start from step 0"):
        folder.set_damaged_aside()


def test_the_digests_are_in_the_form_of_sha256sum(tmp_path):
    _sealed(tmp_path, 4)

    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "step-000004", capture_output=True
    )

    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == ["engine/rank0.pt: OK", "state.json: OK"]


def test_a_full_disk_is_noticed_before_a_checkpoint_is_begun(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    assert folder.room_missing(1000) == 0
    assert folder.room_missing(10**18) > 0
    assert _sealed(tmp_path, 1).room_missing(10**18) == 0, "the last one gives the size"


def test_groups_are_shared_evenly_and_balanced_by_tokens():
    groups = [(f"{number}-0", tokens) for number, tokens in enumerate([9, 1, 8, 2, 7, 3, 6, 4])]

    numbers = deal_groups(groups, minibatch=4, ranks=2)

    order = numbers[::2]
    assert sorted(order[:4]) == [0, 1, 2, 3]
    assert sorted(order[4:]) == [4, 5, 6, 7]
    tokens = dict(enumerate([9, 1, 8, 2, 7, 3, 6, 4]))
    loads = [[sum(tokens[i] for i in order[s : s + 4][rank::2]) for rank in (0, 1)] for s in (0, 4)]
    assert loads == [[10, 10], [10, 10]]

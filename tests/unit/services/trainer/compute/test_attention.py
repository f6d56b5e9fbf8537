"""The attention kernels of the trainer compute the same, and each where it can."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
)

from services.trainer.compute.attention import (
    BLOCK,
    FLEX,
    attention_mask,
    block_mask,
    chosen_attention,
    compiled_flex,
)
from services.trainer.compute.families import family_of
from services.trainer.compute.families.qwen2_5_vl import window_inputs
from services.trainer.compute.model import GroupModel, chunk_logprobs
from services.trainer.compute.packing import PADDING, pack
from services.trainer.compute.vision import BATCHED, chosen_vision_attention
from shared.config import Config
from shared.errors import UserError
from tests.family_models import SIZES, family_model
from tests.prepared_groups import prepared_group
from tests.scripted_sampler import demo_config

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def random_segments(seed: int, rows: int, length: int) -> torch.Tensor:
    """Rows of a prompt and a few responses of any length, padded at the end."""
    rng = np.random.default_rng(seed)
    segments = torch.full((rows, length), PADDING)
    for row in segments:
        lengths = rng.multinomial(length, rng.dirichlet(np.ones(rng.integers(3, 7))))
        ids = np.repeat(np.arange(len(lengths)), lengths)
        # The last part stays padding, in every other row.
        row[: len(ids)] = torch.from_numpy(ids)
        if rng.integers(2):
            row[row == len(lengths) - 1] = PADDING
    return segments


@pytest.mark.parametrize("seed", range(8))
def test_no_block_is_skipped_that_a_token_sees(seed):
    segments = random_segments(seed, rows=3, length=8 * BLOCK)
    dense = attention_mask(segments)[:, 0]

    mask = block_mask(segments)

    cells = dense.unflatten(2, (8, BLOCK)).unflatten(1, (8, BLOCK)).transpose(2, 3)
    some, all_of_it = cells.any(-1).any(-1), cells.all(-1).all(-1)
    whole = _flags(mask.full_kv_num_blocks, mask.full_kv_indices)
    partly = _flags(mask.kv_num_blocks, mask.kv_indices)
    assert torch.equal(whole & ~all_of_it, torch.zeros_like(whole))
    assert torch.equal(some & ~(whole | partly), torch.zeros_like(some))
    assert not (whole & partly).any()
    assert (whole | partly).float().mean() < 0.6
    places = torch.arange(8 * BLOCK)
    for row in range(3):
        by_rule = mask.mask_mod(torch.tensor(row), None, places[:, None], places[None])
        assert torch.equal(by_rule, dense[row])


def _flags(counts, indices):
    """(R, Q, K) which blocks of keys a block mask lists."""
    rows, blocks = counts.shape[0], counts.shape[-1]
    flags = torch.zeros(rows, blocks, blocks, dtype=torch.bool)
    for row in range(rows):
        for query in range(blocks):
            flags[row, query, indices[row, 0, query, : counts[row, 0, query]].long()] = True
    return flags


@pytest.fixture(scope="module", params=SIZES)
def model(request):
    return family_model(request.param)


def test_flex_attention_gives_the_log_probabilities_of_sdpa(model):
    rng = torch.Generator().manual_seed(5)
    group = prepared_group(model, rng, (2, [(0, 1), (1, 0)]), responses=[90, 7, 30])
    (batch,) = pack([group], 10_000)
    found = []
    for kernel in ("sdpa", FLEX):
        model.set_attn_implementation({"text_config": kernel})
        found.append(torch.cat(chunk_logprobs(GroupModel(model, 1.0), batch)))

    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=0)


def test_flex_attention_is_compiled_once_for_all_shapes():
    programs = []

    def backend(graph, inputs):
        programs.append(graph)
        return graph.forward

    with torch.no_grad():
        for rows, blocks in ((5, 3), (3, 2), (2, 5), (4, 4)):
            segments = random_segments(rows, rows, blocks * BLOCK)
            query = torch.randn(rows, 6, blocks * BLOCK, 32)
            key = torch.randn(rows, 2, blocks * BLOCK, 32)
            mask = block_mask(segments)
            ours = compiled_flex(backend)(query, key, key, block_mask=mask, enable_gqa=True)
            plain = scaled_dot_product_attention(
                query, key, key, attn_mask=attention_mask(segments), enable_gqa=True
            )
            torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)

    assert len(programs) == 1


def test_pictures_computed_together_equal_one_after_another(model):
    grid = torch.tensor([[1, 4, 6], [1, 8, 8], [1, 4, 6], [1, 2, 2]])
    vision = model.config.vision_config
    pixels = torch.randn(int(grid.prod(-1).sum()), 3 * 2 * vision.patch_size**2)
    found, calls = [], []
    for kernel in ("sdpa", BATCHED):
        model.set_attn_implementation({"vision_config": kernel})
        model.zero_grad()
        with Calls() as counted:
            features = torch.cat(family_of(model).encode(pixels, grid))
        features.square().sum().backward()
        gradients = {name: one.grad for name, one in model.model.visual.named_parameters()}
        found.append((features.detach(), gradients))
        calls.append(counted.count)

    assert calls[1] < calls[0]
    torch.testing.assert_close(found[1], found[0])


@pytest.fixture(scope="module")
def tower():
    """A vision tower with the real one's windows of 8 x 8 patches."""
    torch.manual_seed(0)
    config = Qwen2_5_VLVisionConfig(
        depth=4,
        hidden_size=64,
        intermediate_size=128,
        num_heads=4,
        out_hidden_size=32,
        fullatt_block_indexes=[1, 3],
    )
    return Qwen2_5_VisionTransformerPretrainedModel(config)


class Calls(TorchFunctionMode):
    """Counts how often attention is computed."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func is scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def test_batched_windows_equal_one_window_after_another(tower):
    grid = torch.tensor([[1, 20, 26], [1, 18, 18], [1, 20, 26], [1, 2, 2], [1, 8, 16]])
    pixels = torch.randn(int(grid.prod(-1).sum()), 3 * 2 * 14 * 14)
    results, calls = [], []
    for kernel in ("sdpa", BATCHED):
        tower.set_attn_implementation(kernel)
        tower.zero_grad()
        with Calls() as counted:
            inputs = window_inputs(tower, grid) if kernel == BATCHED else {}
            output = tower(pixels, grid_thw=grid, **inputs).pooler_output
        output.square().sum().backward()
        gradients = {name: one.grad.clone() for name, one in tower.named_parameters()}
        results.append((output.detach(), gradients))
        calls.append(counted.count)

    torch.testing.assert_close(results[1][0], results[0][0])
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], gradient, msg=name)
    # Two layers of five pictures and two of 36 windows; four sizes of pictures, five of windows.
    assert calls[0] == 2 * 5 + 2 * 36
    assert calls[1] == 2 * 4 + 2 * 5


def test_kernels_are_chosen_for_the_device(tmp_path):
    config = Config.model_validate(demo_config(tmp_path, "redis://127.0.0.1:1/0"))

    assert chosen_attention("auto", GPU) == chosen_attention("flex", GPU) == FLEX
    assert chosen_attention("auto", CPU) == "sdpa"
    assert chosen_attention("eager", GPU) == "eager"
    assert chosen_attention("auto", GPU, "replicated") == "sdpa"
    assert chosen_vision_attention(config, CPU) == BATCHED
    # There is no flash-attn here, and the configuration says float32.
    assert chosen_vision_attention(config, GPU) == BATCHED


def test_a_kernel_that_the_device_lacks_is_refused(tmp_path):
    settings = demo_config(tmp_path, "redis://127.0.0.1:1/0", vision_attention="flash")
    config = Config.model_validate(settings)
    settings["model"]["dtype"] = "bfloat16"
    half = Config.model_validate(settings)

    with pytest.raises(UserError, match=r"^trainer\.attention: .*FlexAttention has no backward"):
        chosen_attention("flex", CPU)
    with pytest.raises(UserError, match=r"^trainer\.attention: flex is for packed rows"):
        chosen_attention("flex", GPU, "replicated")
    with pytest.raises(UserError, match=r"^trainer\.vision_attention: flash needs a GPU; set it"):
        chosen_vision_attention(config, CPU)
    with pytest.raises(UserError, match=r"flash needs model\.dtype: bfloat16"):
        chosen_vision_attention(config, GPU)
    with pytest.raises(UserError, match=r"flash needs the flash-attn package \(make setup FLASH"):
        chosen_vision_attention(half, GPU)

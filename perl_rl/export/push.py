"""``perl-rl push MODEL owner/name``: an exported model goes to the Hugging Face Hub."""

import re
from pathlib import Path

from shared.errors import UserError

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def push(model: Path, repository: str, public: bool = False) -> int:
    """Upload a model folder, with its card, to a repository that is made if it is not there.

    Args:
        model: what `perl-rl export` wrote.
        repository: ``owner/name``.
        public: let everybody see it, if it is new; else only those whom its owner lets in.

    Raises:
        UserError: when there is no such model, nobody is logged in, or the Hub refuses or cannot be
            reached. Nothing is half uploaded: all files come in one commit.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UserError(f"push: '{repository}' is no repository of the Hub; write owner/name")
    if not model.is_dir():
        what = "is a file, not a folder" if model.exists() else "there is no such folder"
        raise UserError(f"{model}: {what}; name what perl-rl export wrote")
    if not (model / "config.json").is_file():
        raise UserError(
            f"{model}: holds no model (config.json); write one first: perl-rl export RUN --out DIR"
        )
    # Here, because they take seconds to import. The Hub's library speaks HTTP with the second.
    import httpx2
    import huggingface_hub
    from huggingface_hub import errors

    if huggingface_hub.get_token() is None:
        raise UserError("push: nobody is logged in to the Hub; run hf auth login, or set HF_TOKEN")
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=model, commit_message="Upload by perl-rl"
        )
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled) as error:
        raise UserError(f"push: {repository}: {' '.join(str(error).split())[:300]}") from None
    print(f"pushed {model} to {repository}: {commit.commit_url}")
    return 0

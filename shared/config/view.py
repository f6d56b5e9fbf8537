"""The pages that `launch` serves beside a run (docs/view.md)."""

from pydantic import Field

from shared.config.section import Section


class ViewConfig(Section):
    """The pages that ``perl-rl launch`` serves while the run goes on, as ``perl-rl view`` does."""

    enabled: bool = True
    """Serve them; ``--no-view`` turns it off for one launch."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond this machine set ``security.token``, which the pages then ask
    for."""
    port: int | None = Field(default=None, ge=0, le=65_535)
    """Port; empty: 8770, or any free one when that is taken; 0: any free one."""

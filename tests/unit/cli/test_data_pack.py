"""``mmask data pack``: which packer is taken."""

from __future__ import annotations

import pytest

from mmask.cli.data_pack import _best_packer
from mmask.cli.session import Session
from mmask.errors import UsageError
from mmask.plugin.component import Component
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host
from mmask.plugin.spec import hookimpl


class Dots:
    """Takes dots."""

    extensions = ("dot", "both")
    columns = ("n=json.n",)


class Dashes:
    """Takes dashes."""

    extensions = ("dash", "both")


class Manifest:
    @hookimpl
    def mmask_components(self):
        return (Component("packer", "dots", f"{__name__}:Dots", "dots"),
                Component("packer", "dashes", f"{__name__}:Dashes", "dashes"))


@pytest.fixture
def session():
    return Session(Host([Entry("two", Manifest())], environ={}))


@pytest.mark.parametrize("form", ["folder", "manifest"])
def test_the_packer_that_takes_most_files(session, tmp_path, form):
    names = ["a.dash", "b.DASH", "c.dot"]
    for name in names:
        (tmp_path / name).touch()
    source = tmp_path
    if form == "manifest":
        source = tmp_path / "list.csv"
        source.write_text("path\n" + "\n".join(names) + "\n")
    assert _best_packer(session, source) == "two/dashes"


def test_a_draw_is_the_users_to_decide(session, tmp_path):
    (tmp_path / "a.both").touch()
    with pytest.raises(UsageError, match="two/dashes, two/dots"):
        _best_packer(session, tmp_path)

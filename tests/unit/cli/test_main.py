"""The command line: errors in words, codes, nearest names, plugin commands."""

from __future__ import annotations

import errno
import re
import sys
import types

import click
import pytest

from mmask.api import Component
from mmask.cli import main as cli
from mmask.cli.session import Session
from mmask.errors import RecipeError
from mmask.plugin.entries import Entry
from mmask.plugin.host import Host
from mmask.testing import fakes


@pytest.fixture
def mm(capsys, monkeypatch):
    """Run a command with the fakes as the only plugin -> (code, stdout, stderr)."""
    monkeypatch.delenv("MMASK_TRACEBACK", raising=False)

    def run(*args, entries=None):
        session = Session()
        host = Host(entries if entries is not None else [fakes.entry()], environ={}, notify=session.notify)
        session._given = host
        code = cli.run(list(args), session)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture
def command(monkeypatch):
    """A plugin with a command whose body can be set."""
    module = types.ModuleType("commands_for_tests")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def make(body, name="greet"):
        module.greet = click.command(name)(body)
        return fakes.entry("fakes", Component("command", name, "commands_for_tests:greet", "say something"))

    return make


def test_every_command_of_the_table_has_a_line_and_a_target():
    for name, (target, line) in cli.TABLE.items():
        assert target.startswith("mmask.cli."), name
        assert line.endswith("."), name
        assert len(line) < 75, name


def test_a_command_named_after_a_group_stands_in_it(mm, command):
    entries = [command(lambda: click.echo("hello"), name="data.greet")]
    assert "greet" not in mm("--help", entries=entries)[1]
    assert "greet  say something [fakes]" in mm("data", "--help", entries=entries)[1]
    assert mm("data", "greet", entries=entries)[:2] == (0, "hello\n")


def test_help_lists_the_table_and_the_commands_of_plugins(mm, command):
    code, out, err = mm("--help", entries=[command(lambda: None)])
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("  train")]
    assert "say something [fakes]" in out
    assert err == ""


def test_a_broken_plugin_costs_help_one_line(mm):
    broken = [Entry("g", "no_such_module_anywhere"), Entry("h", "no_such_module_anywhere")]
    code, out, err = mm("--help", entries=broken)
    assert code == 0
    assert "recipes" in out
    assert err == "mmask: could not load g, h: see mmask plugins\n"


@pytest.mark.parametrize(("args", "code", "said"), [
    (["trian"], 2, "no command 'trian' (did you mean 'train'?)"),
    (["plugins", "--hlep"], 2, "no such option '--hlep'"),
    (["recipe", "shw"], 2, "no command 'shw' (did you mean 'show'?)"),
    (["recipe", "show", "fakes-tny"], 3, "no recipe named 'fakes-tny' (did you mean 'fakes-tiny'?)"),
    (["recipe", "show", "fakes-tiny", "optim.lrr=1"], 3, "did you mean 'optim.lr'?"),
    (["recipe", "show", "fakes-tiny", "--batch-size", "x"], 2, "'x' is not a valid integer"),
    (["recipe", "show"], 2, "no recipe was named"),
    (["plugins", "fake"], 3, "no plugin named 'fake' (did you mean 'fakes'?)"),
    (["mask", "preview", "--recipe", "fakes-tiny", "--out", "/no/where/x.png"], 2, "no folder /no/where"),
    (["new", "plugin", "Big"], 2, "cannot be a plugin's name"),
])
def test_a_mistake_shows_words_a_code_and_no_traceback(mm, args, code, said):
    given, _, err = mm(*args)
    assert given == code
    assert err.startswith("mmask: ")
    assert said.lower() in err.lower()
    assert "Traceback" not in err


def test_a_misspelt_flag_names_the_nearest(mm):
    _, _, err = mm("plan", "--recpie", "x")
    assert "--recipe" in err


def test_a_plugins_command_runs_and_its_code_is_the_exit_code(mm, command):
    def body():
        click.echo("hello")
        click.get_current_context().exit(9)

    code, out, _ = mm("greet", entries=[command(body)])
    assert (code, out) == (9, "hello\n")


def test_a_plugins_command_cannot_take_the_cores_name(mm, command):
    entry = command(lambda: click.echo("mine"), name="plan")
    code, out, _ = mm("--help", entries=[entry])
    assert "fakes/plan" in out
    code, out, _ = mm("fakes/plan", entries=[entry])
    assert (code, out) == (0, "mine\n")


@pytest.mark.parametrize(("error", "code", "said"), [
    (RecipeError("too wide", hint="make it narrow"), 3, "mmask: too wide\n  make it narrow\n"),
    (KeyboardInterrupt(), 130, "interrupted"),
    (ZeroDivisionError("oh"), 1, "crashed: ZeroDivisionError: oh"),
])
def test_errors_become_codes(mm, command, error, code, said):
    def body():
        raise error

    given, _, err = mm("greet", entries=[command(body)])
    assert given == code
    assert said in err
    assert "Traceback" not in err


def test_a_crash_leaves_its_traceback_in_a_file(mm, command, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def body():
        raise ZeroDivisionError("oh")

    _, _, err = mm("greet", entries=[command(body)])
    (saved,) = tmp_path.iterdir()
    assert str(saved) in err
    assert "Traceback" in saved.read_text()
    assert "mmask greet" in saved.read_text()


def test_the_traceback_can_be_asked_for(mm, monkeypatch):
    session_env = {"MMASK_TRACEBACK": "1"}
    for key, value in session_env.items():
        monkeypatch.setenv(key, value)
    _, _, err = mm("recipe", "show", "nothing-like-it")
    assert "Traceback" in err


def test_recipes_plugins_and_show_tell_what_there_is(mm):
    _, out, _ = mm("recipes")
    assert "fakes-tiny  fakes (mmask-fakes 0.0)  vectors" in out
    _, out, _ = mm("plugins")
    assert [line.split()[3] for line in out.splitlines()[1:]] == ["ready", "ready"]
    _, out, _ = mm("plugins", "fakes")
    assert "mmask.testing.fakes:FakeMasker" in out
    code, out, _ = mm("recipe", "show", "fakes-tiny", "mask.ratio=0.25")
    assert code == 0
    assert "ratio = 0.25  (command line)" in out
    assert "of one optimizer step, over all ranks" in out
    assert "share of the places, at least one hidden" in out
    assert "noise = 0  (default of fake)" in out


def test_the_toml_of_show_can_be_run_again(mm, tmp_path):
    code, first, _ = mm("recipe", "show", "fakes-tiny", "--toml", "optim.clip=2.5")
    assert code == 0
    path = tmp_path / "mine.toml"
    path.write_text(first)
    code, second, _ = mm("recipe", "show", "--config", str(path), "--toml")
    assert code == 0
    assert second.partition("[origin]")[0] == first.partition("[origin]")[0]
    assert "clip = 2.5" in second


def test_recipes_says_what_to_do_when_there_are_none(mm):
    assert "no recipes are installed" in mm("recipes", entries=[])[1]


def test_a_place_that_cannot_be_written_is_no_crash(mm, command):
    def body():
        raise OSError(errno.EROFS, "Read-only file system", "ro/x")

    code, _, err = mm("greet", entries=[command(body)])
    assert code == 2
    assert "ro/x: Read-only file system" in err
    assert "crashed" not in err


def test_flags_that_would_be_ignored_are_refused(mm, tmp_path):
    code, _, err = mm("plan", "--recipe", "fakes-tiny", "--steps", "3", "--epochs", "2")
    assert (code, "--steps and --epochs exclude each other" in err) == (2, True)
    code, _, err = mm("data", "inspect", str(tmp_path), "--preview", "fake")
    assert (code, "give --out PNG" in err) == (2, True)


def test_components_are_listed_by_kind_and_explained_by_name(mm):
    code, out, _ = mm("components")
    assert code == 0 and re.search(r"^masker +\d+$", out, re.M)
    code, out, _ = mm("components", "masker")
    assert code == 0 and re.search(r"^fake +fakes \(mmask-fakes 0\.0\) +a fake$", out, re.M)
    code, out, _ = mm("components", "masker", "fake")
    assert code == 0 and "mmask.testing.fakes:FakeMasker" in out
    assert re.search(r"^ratio +0\.5 +share of the places, at least one hidden and one kept$", out, re.M)


@pytest.mark.parametrize(("args", "said"), [
    (("maskr",), "no kind 'maskr' (did you mean 'masker'?)"),
    (("masker", "fak"), "no masker named 'fak' (did you mean 'fake'?)"),
])
def test_components_that_do_not_exist_are_answered_with_the_nearest(mm, args, said):
    code, _, err = mm("components", *args)
    assert code != 0 and said in err

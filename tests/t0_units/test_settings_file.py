"""What is wrong with settings.conf is said in a sentence that names the file."""

import os

import pytest

from arvados_fuse.command.settings_file import complaint


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The path of the settings file of a user with a home of his own, and no other settings."""
    for name in ("CONFIGURATION_DIRECTORY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".config" / "arvados" / "settings.conf"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("text", ["", "# a=b=c\n\n  # more\nA=1\nB=\n"])
def test_a_good_file(file, text):
    file.write_text(text)
    assert complaint() is None


def test_no_file(file):
    assert complaint() is None
    file.parent.rmdir()
    file.parent.touch()
    assert complaint() is None


@pytest.mark.parametrize("line", ["ARVADOS_API_TOKEN", "A=secret=", "A = b = c", "export"])
def test_a_line_is_named_by_its_number_and_not_shown(file, line):
    file.write_text(f"# settings\n\n{line}\nC\n")
    assert complaint() == (
        f"The settings file {file} has a line, number 3, that is not NAME=VALUE."
    )


def test_a_file_that_is_no_text(file):
    file.write_bytes(b"ARVADOS_API_HOST=h\xe4\n")
    assert complaint() == f"The settings file {file} is not text in utf-8."


def test_a_file_that_cannot_be_read(file):
    file.mkdir()
    assert complaint() == f"The settings file {file} cannot be read: Is a directory."
    file.rmdir()
    os.symlink(file.name, file)
    assert "cannot be read: Too many levels of symbolic links." in complaint()


def test_a_directory_that_cannot_be_searched(file, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", "/" + "x" * 256)
    assert complaint().endswith("settings.conf cannot be read: File name too long.")


def test_the_first_file_there_is_counts(file, tmp_path, monkeypatch):
    places = [tmp_path / "systemd", file.parent, tmp_path / "xdg" / "arvados"]
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", f"{tmp_path / 'none'}:{places[0]}")
    for place in reversed(places):
        place.mkdir(parents=True, exist_ok=True)
        (place / "settings.conf").write_text("bad")
        assert f"{place}/settings.conf" in complaint()
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative, and so not used")
    (places[0] / "settings.conf").write_text("A=good")
    assert complaint() is None

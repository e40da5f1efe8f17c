"""`sgdsm VERB --help` explains each setting."""

from __future__ import annotations

import pytest

from sgdsm.cli.commands import command_names, load, summary_of
from sgdsm.cli.help import of_command, overview
from sgdsm.cli.overrides import groups
from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import help_lines

CHOICES = [(g, n) for g in ("model", "gaps", "splits", "trainer", "uncertainty") for n in groups()[g]]


def test_every_command_is_listed_with_what_it_does():
    text = overview()
    for name in command_names():
        assert f"{name:14} {summary_of(name)}" in text
        assert summary_of(name).endswith(".")


@pytest.mark.parametrize("command", command_names())
def test_each_setting_of_a_command_is_explained(command):
    assert all(text for _, _, text in help_lines(load(command).Settings))
    text = of_command(command, [])
    assert f"usage: sgdsm {command} {load(command).USAGE}" in text
    assert all(name.partition("=")[0] in text for name, _, _ in help_lines(load(command).Settings))


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=lambda word: word)
def test_each_setting_of_a_group_is_explained(group, name):
    lines = of_command("train", [f"{group}={name}"]).splitlines()
    assert f"{group} (sgdsm." in "\n".join(lines) or name == "none"
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        setting = line.startswith(f"  {group}.")
        if setting:
            explained = len(line.split(None, 1)) > 1 or after.startswith(" " * 36)
            assert explained, line
    assert not [line for line in lines if "See `" in line]


def test_words_that_cannot_be_read_are_refused():
    with pytest.raises(ConfigError, match="xgbost"):
        of_command("train", ["model=xgbost"])

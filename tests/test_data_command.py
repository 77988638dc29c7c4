"""The verbs of `python -m keras_models.data`."""

import pytest

from keras_models.command import UserError
from keras_models.data import __main__ as dispatcher


def test_help_names_every_verb(capsys):
    assert dispatcher.main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in dispatcher.VERBS)


def test_unknown_verb_is_a_users_mistake():
    with pytest.raises(UserError, match=r"Valid names: check.*'chekc'"):
        dispatcher.main(["chekc", "photos"])


@pytest.mark.parametrize("verb", dispatcher.VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        dispatcher.main([verb, "--help"])
    assert ended.value.code == 0
    assert f"python -m keras_models.data {verb} " in capsys.readouterr().out.split("example:")[1]

"""The tests, and the run-time type checker they use (pyproject.toml names ``tests.check``).

An int is accepted where a float is asked for, as Python's own type rules have it.
"""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))

"""How annotations are checked while tests run: as a type checker reads them, so an int passes for a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))

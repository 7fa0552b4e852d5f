"""What no mapping may say: a value that is not computed from its own row alone, the same each time it is read.

A training set made again, and the online row beside it, would disagree. The text is looked at, since a definition is
checked where no engine is; engines look again, at what they make of it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

#: Texts, quoted names and remarks: nothing in them is called.
_SILENT: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\n]*|/\*.*?\*/""", re.DOTALL)

_CLOCKS: Final = "current_timestamp|current_datetime|current_date|current_time|localtimestamp|localtime"
_UNSTEADY: Final = (
    "now|today|getdate|sysdate|sysdatetime|systimestamp|clock_timestamp|statement_timestamp|transaction_timestamp|"
    "rand|random|randn|uuid|gen_random_uuid|generate_uuid|newid|monotonically_increasing_id|"
    "session_user|current_user"
)
_AGGREGATES: Final = (
    "sum|avg|mean|count|min|max|median|first|last|stddev|stddev_pop|stddev_samp|stdev|variance|var|var_pop|var_samp|"
    "corr|covar|covar_pop|covar_samp|quantile|quantile_cont|quantile_disc|percentile_cont|percentile_disc|array_agg|"
    "string_agg|listagg|group_concat|any_value|approx_count_distinct|count_distinct|bool_and|bool_or|every|"
    "row_number|rank|dense_rank|percent_rank|ntile|lag|lead|first_value|last_value|unnest"
)


_ANOTHER_TIME: Final = rf"\b({_CLOCKS})\b|\b({_UNSTEADY})\s*\("
#: Without a space before the bracket, as in names of columns: "count (thousands)".
_OTHER_ROWS: Final = rf"\b({_AGGREGATES})\(|\)\s*(over)\b|\(\s*(select)\b"

_REFUSED: Final = (
    (re.compile(_ANOTHER_TIME, re.IGNORECASE), "which is another each time"),
    (re.compile(_OTHER_ROWS, re.IGNORECASE), "which is computed from other rows"),
)


@lru_cache(maxsize=4_096)
def unsteady(expression: str) -> str:
    """What in an expression is not computed from its own row alone and why that is, in words; empty where nothing is.

    >>> unsteady("fare + tip")
    ''
    >>> unsteady("fare / NOW()")
    'it has NOW, which is another each time'
    """
    if expression.isidentifier():
        return ""
    spoken = _SILENT.sub(" ' ", expression)
    for pattern, why in _REFUSED:
        found = pattern.search(spoken)
        if found is not None:
            name = next(group for group in found.groups() if group)
            return f"it has {name}, {why}"
    return ""

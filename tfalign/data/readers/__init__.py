"""Sources of text to records: one module a format, one boundary that only bad records cross.

A format's module turns a file into pairs of a place ("file:line") and what is there: a dict of fields,
or the BadRecordError that says why not. ``fields`` turns such a dict into a record, ``sources`` puts the
two together. ``files`` alone opens files.
"""

from tfalign.data.readers.documents import document_rows, is_junk
from tfalign.data.readers.files import text_lines
from tfalign.data.readers.json_lines import json_object, json_rows
from tfalign.data.readers.row_layouts import LAYOUTS, alpaca_asked, alpaca_prompt
from tfalign.data.readers.rows import iter_rows, records_of_rows
from tfalign.data.readers.sources import is_source, iter_records, read_records
from tfalign.data.readers.tables import table_rows
from tfalign.data.readers.transcripts import split_transcripts
from tfalign.data.readers.values import read_texts

__all__ = [
    "LAYOUTS",
    "alpaca_asked",
    "alpaca_prompt",
    "document_rows",
    "is_junk",
    "is_source",
    "iter_records",
    "iter_rows",
    "json_object",
    "json_rows",
    "read_records",
    "read_texts",
    "records_of_rows",
    "split_transcripts",
    "table_rows",
    "text_lines",
]

"""Puts one NaN into a parquet column of float lists: FILE COLUMN ROW ELEMENT, in place."""
import sys

import pyarrow as pa
import pyarrow.parquet as pq

file, column, row, element = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
table = pq.read_table(file)
index = table.schema.get_field_index(column)
values = table.column(index).to_pylist()
values[row][element] = float("nan")
field = table.schema.field(index)
pq.write_table(table.set_column(index, field, pa.array(values, field.type)), file)

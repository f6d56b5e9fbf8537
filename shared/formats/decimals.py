"""Numbers of parquet files as the decimals that they were written from."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow


def shortest_decimals(batch: "pyarrow.RecordBatch") -> "pyarrow.RecordBatch":
    """The batch with each 32-bit float as the 64-bit one of its shortest decimal form.

    0.1 in 32 bits is 0.10000000149011612 in 64: with this it is 0.1. Columns inside structs and
    lists are changed, too.
    """
    import pyarrow

    text, double = (_with(batch.schema, kind) for kind in (pyarrow.string(), pyarrow.float64()))
    # Arrow writes the shortest decimal that is read back as the same number.
    return batch if double == batch.schema else batch.cast(text).cast(double)


def _with(schema: "pyarrow.Schema", kind: "pyarrow.DataType") -> "pyarrow.Schema":
    import pyarrow

    return pyarrow.schema([field.with_type(_type(field.type, kind)) for field in schema])


def _type(type_: "pyarrow.DataType", kind: "pyarrow.DataType") -> "pyarrow.DataType":
    """`type_` with `kind` in the place of 32-bit floats."""
    import pyarrow

    if pyarrow.types.is_float32(type_):
        return kind
    if pyarrow.types.is_struct(type_):
        fields = [type_.field(place) for place in range(type_.num_fields)]
        return pyarrow.struct([field.with_type(_type(field.type, kind)) for field in fields])
    for is_list, make in (
        (pyarrow.types.is_list, pyarrow.list_),
        (pyarrow.types.is_large_list, pyarrow.large_list),
    ):
        if is_list(type_):
            return make(type_.value_field.with_type(_type(type_.value_type, kind)))
    return type_

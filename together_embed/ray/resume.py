"""What is left to do of a dataset, going by what a folder of Parquet already holds."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from ray import ObjectRef
    from ray.data import Dataset


def remaining(dataset: Dataset, written: str, *, id: str = "id") -> Dataset:
    """Return the rows whose id is in no Parquet file of a folder.

    A row that was written with an error counts as done. A file that cannot be read, as
    a job that was killed may leave one, is renamed, with a warning, so that readers of
    the folder pass over it; its rows are to be done again.

    The ids of what is written are held in memory by each task that compares them, some
    100 bytes each: to do a part of the input at a time keeps that small.

    Args:
        dataset: The input.
        written: A folder, or its address (`s3://…`); it need not be there yet.
        id: The column of the ids, in both.
    """
    import ray

    done = _ids(written, id)
    if done is None:
        return dataset
    unwritten: Any = _unwritten  # Ray's types know no arguments beyond the batch
    return dataset.map_batches(
        unwritten,
        fn_args=(ray.put(done), id),
        batch_format="pyarrow",
        batch_size=None,
    )


def _unwritten(table: pa.Table, written: ObjectRef, id: str) -> pa.Table:
    import pyarrow.compute
    import ray

    compute: Any = pyarrow.compute  # makes its functions as it is imported
    ids, done = table[id], ray.get(written)
    if ids.type != done.type:
        done = done.cast(ids.type)
    return table.filter(compute.invert(compute.is_in(ids, value_set=done)))


def _ids(folder: str, id: str) -> pa.ChunkedArray | None:
    """Return the ids in all files of a folder, None where there are none."""
    import pyarrow as pa
    from pyarrow import fs, parquet

    system, path = fs.FileSystem.from_uri(folder) if "://" in folder else _local(folder)
    tables: list[Any] = []
    files = fs.FileSelector(path, allow_not_found=True, recursive=True)
    for file in system.get_file_info(files):
        if file.is_file and file.extension == "parquet":
            try:
                tables.append(
                    parquet.read_table(file.path, columns=[id], filesystem=system)
                )
            except pa.ArrowInvalid:
                _put_aside(system, file.path)
    return pa.concat_tables(tables)[id] if tables else None


def _local(folder: str) -> tuple[Any, str]:
    from pyarrow import fs

    return fs.LocalFileSystem(), folder


def _put_aside(system: Any, path: str) -> None:
    """Give a file a name that readers of Parquet pass over."""
    folder, _, name = path.rpartition("/")
    hidden = f"{folder}/.{name}.unreadable"
    system.move(path, hidden)
    warnings.warn(
        f"{path} cannot be read, and is called {hidden} now; its rows are to be done "
        "again",
        UserWarning,
        stacklevel=4,
    )

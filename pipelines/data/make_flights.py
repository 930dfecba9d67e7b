#!/usr/bin/env python3
"""Makes departures.parquet, arrivals.parquet and airports.csv from the npm package vega-datasets 3.2.1.

    python3 -m venv venv && venv/bin/pip install pyarrow
    venv/bin/python pipelines/data/make_flights.py                 # fetches the package with `npm pack`
    venv/bin/python pipelines/data/make_flights.py path/to/package # or takes the unpacked one

`flights-3m.parquet` holds 3,000,000 flights ordered by `date`, the local clock time of the actual departure. Taken are the first 300,000, by (date, row
number), that leave BOS, LGA, EWR, PHL, DCA or JFK: one time zone, so local times compare. The local clock is written as if it were UTC.

The file does not say when a flight landed. `arrived_at` is an estimate: departure + 30 minutes + distance / 7.5 miles per minute (8 s for a mile).
"""

import csv
import hashlib
import pathlib
import subprocess
import sys
import tempfile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PACKAGE = "vega-datasets@3.2.1"
SHA256 = {
    "flights-3m.parquet": "dbeb920c90f59b6ccaff823dcc3d08f25a97fa1ce128d93f40be4e931f5900b0",
    "airports.csv": "903c7169e6d558eefb95295fe2947ec8503135fbb855ea5c737cf4a90ea603ad",
}
ORIGINS = ["BOS", "LGA", "EWR", "PHL", "DCA", "JFK"]
ROWS = 300_000
TAXI_AND_CLIMB_S = 30 * 60
SECONDS_PER_MILE = 8
HERE = pathlib.Path(__file__).resolve().parent
INSTANT = pa.timestamp("us", tz="UTC")


def unpack(folder):
    """Fetches the package into `folder` and returns where its files are."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = pathlib.Path(folder).glob("*.tgz")
    subprocess.run(["tar", "-xzf", archive.name], cwd=folder, check=True)
    return pathlib.Path(folder) / "package"


def read(package, name):
    """The path of a file of the package, once its digest is the one this script was written for."""
    path = package / "data" / name
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256[name]:
        sys.exit(f"{path} is not the file of {PACKAGE}: sha256 {digest}")
    return path


def seconds(count):
    """Whole seconds as a duration in microseconds."""
    return pc.multiply(pc.cast(count, pa.int64()), 1_000_000).cast(pa.duration("us"))


def write(table, name, deltas):
    """Integers and times as deltas, text as dictionaries, zstd: the two files take about 2.5 MB together."""
    schema = pa.schema([pa.field(field.name, field.type, nullable=False) for field in table.schema])
    pq.write_table(
        table.cast(schema),
        HERE / name,
        compression="zstd",
        compression_level=19,
        use_dictionary=[column for column in table.column_names if column not in deltas],
        column_encoding={column: "DELTA_BINARY_PACKED" for column in deltas},
        store_schema=False,
        write_statistics=True,
    )
    print(f"{name}: {table.num_rows} rows, {(HERE / name).stat().st_size} bytes")


def flights(package):
    """Writes both Parquet files and returns the airports that occur."""
    table = pq.read_table(read(package, "flights-3m.parquet"))
    table = table.append_column("flight_id", pa.array(range(table.num_rows), pa.int64()))
    table = table.filter(pc.is_in(table["origin"], pa.array(ORIGINS)))
    table = table.sort_by([("date", "ascending"), ("flight_id", "ascending")]).slice(0, ROWS).combine_chunks()
    departed = table["date"].cast(pa.timestamp("us")).cast(INSTANT)
    arrived = pc.add(departed, seconds(pc.add(TAXI_AND_CLIMB_S, pc.multiply(table["distance"], SECONDS_PER_MILE))))
    text = {name: table[name].cast(pa.string()) for name in ["origin", "destination"]}
    departures = pa.table({"flight_id": table["flight_id"], "departed_at": departed, **text, "distance": table["distance"].cast(pa.int32())})
    arrivals = pa.table({"flight_id": table["flight_id"], "arrived_at": arrived, **text, "delay": table["delay"].cast(pa.int32())})
    arrivals = arrivals.sort_by([("arrived_at", "ascending"), ("flight_id", "ascending")])
    write(departures, "departures.parquet", ["flight_id", "departed_at"])
    write(arrivals, "arrivals.parquet", ["flight_id", "arrived_at"])
    return set(text["origin"].unique().to_pylist()) | set(text["destination"].unique().to_pylist())


def airports(package, wanted):
    """Writes the airports that occur, by code."""
    with open(read(package, "airports.csv"), newline="", encoding="utf-8") as file:
        rows = {row["iata"]: row for row in csv.DictReader(file) if row["iata"] in wanted}
    columns = ["iata", "name", "city", "state", "latitude", "longitude"]
    with open(HERE / "airports.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([rows[code][column].strip() for column in columns] for code in sorted(rows))
    print(f"airports.csv: {len(rows)} airports; not in the package: {sorted(wanted - set(rows)) or 'none'}")


def main():
    if len(sys.argv) > 1:
        package = pathlib.Path(sys.argv[1])
        airports(package, flights(package))
        return
    with tempfile.TemporaryDirectory() as folder:
        package = unpack(folder)
        airports(package, flights(package))


if __name__ == "__main__":
    main()

"""What the databases are filled with."""

import csv
import sqlite3
from collections.abc import Iterator
from pathlib import Path

PASSWORD = "violet-anchor-42-meadow"
ADMIN = "admin@localhost"
# bcrypt of that password, for the baselines.
HASHES = {
    4: "$2b$04$Jy8BMhqMF9jDotOr7y1lB.sR7oWa7DZHQGCRqI2JgJfJCd6klTl1.",
    10: "$2b$10$.BPQiBT56vOKBsmEuEq8m.8qs8DBOv3GWTQ1TgaAucG30Cnkf5zUu",
    12: "$2b$12$mp01EgnbO7SySeKvzoSDfe4oaniKosI7cV9AVx2k9rG9Ig5/5Nljy",
}

GIVEN = (
    "Ada Alan Barbara Claude Donald Edsger Frances Grace Hedy Ida John Katherine Leslie Margaret Niklaus Radia".split()
)
FAMILY = (
    "Allen Backus Dijkstra Hamilton Hopper Johnson Knuth Lamarr "
    "Lamport Liskov Lovelace Perlman Rhodes Shannon Turing Wirth"
).split()


def email(number: int) -> str:
    """The address of a user beside the admin."""
    return f"user{number}@example.com"


def persons(count: int, older_by: int = 0) -> Iterator[tuple[str, str, str, int]]:
    for number in range(1, count + 1):
        spread = number * 2_654_435_761 % 4_294_967_296
        name = f"{GIVEN[spread % 16]} {FAMILY[spread // 16 % 16]} {spread % 100_000}"
        yield f"P{number:07}", name, f"person{number}@example.com", (spread // 256 + older_by) % 100


def write_persons(path: Path, count: int, older_by: int = 0) -> Path:
    """A CSV file for an import."""
    if not path.exists():
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "name", "email", "age"])
            writer.writerows(persons(count, older_by))
    return path


# Microseconds since 1970: each person is made a millisecond after the one before.
FIRST_MADE = 1_700_000_000_000_000


def fill_baseline_sqlite(path: Path, schema: str, count: int, users: int, cost: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(schema)
    rows = (
        (*person, FIRST_MADE + 1000 * number, FIRST_MADE + 1000 * number, 1)
        for number, person in enumerate(persons(count))
    )
    connection.executemany("INSERT INTO persons VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    accounts = [(1, ADMIN, "Admin", HASHES[cost])]
    accounts += [(2 + number, email(number), f"User {number}", HASHES[cost]) for number in range(users)]
    connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?)", accounts)
    connection.executemany("INSERT INTO user_roles VALUES (?, 2)", [(account[0],) for account in accounts])
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def baseline_postgres_script(schema: str, file: Path, users: int, cost: int) -> list[str]:
    """What psql has to run."""
    # Ids and names in the order of their bytes, as in Signet's own tables.
    schema = schema.replace("id TEXT NOT NULL PRIMARY KEY", 'id TEXT COLLATE "C" NOT NULL PRIMARY KEY')
    schema = schema.replace(
        "    name TEXT NOT NULL,\n    email TEXT,", '    name TEXT COLLATE "C" NOT NULL,\n    email TEXT,'
    )
    return [
        schema,
        "CREATE TEMPORARY TABLE staging (number BIGSERIAL, id TEXT, name TEXT, email TEXT, age INTEGER);",
        f"\\copy staging (id, name, email, age) FROM '{file}' (FORMAT csv, HEADER)",
        f"INSERT INTO persons SELECT id, name, email, age, made, made, 1 FROM staging, LATERAL (SELECT {FIRST_MADE} "
        "+ 1000 * number) m(made);",
        f"INSERT INTO users VALUES (1, '{ADMIN}', 'Admin', '{HASHES[cost]}');",
        f"INSERT INTO users SELECT 2 + n, 'user' || n || '@example.com', 'User ' || n, '{HASHES[cost]}' "
        f"FROM generate_series(0, {users - 1}) n;",
        "INSERT INTO user_roles SELECT id, 2 FROM users;",
        "VACUUM ANALYZE;",
    ]

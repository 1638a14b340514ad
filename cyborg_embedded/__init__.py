"""An embedded, in-process, encrypted vector store."""

from cyborg_embedded.client import Client, IndexInfo
from cyborg_embedded.errors import (
    ClosedError,
    CyborgError,
    FormatError,
    IndexExistsError,
    IndexNotFoundError,
    IntegrityError,
    InvalidInputError,
    KeyManagerError,
    KeyRequiredError,
    LockedError,
    ReadOnlyError,
    RollbackError,
    StorageFullError,
    UnsupportedVersionError,
    WrongKeyError,
)
from cyborg_embedded.index import EncryptedIndex
from cyborg_embedded.results import IndexDescription, Item, QueryPlan, Result
from cyborg_embedded.salvaging import RepairReport
from cyborg_embedded.schema import FieldSchema
from cyborg_embedded.verification import Problem, VerifyReport

__all__ = [
    "Client",
    "ClosedError",
    "CyborgError",
    "EncryptedIndex",
    "FieldSchema",
    "FormatError",
    "IndexDescription",
    "IndexExistsError",
    "IndexInfo",
    "IndexNotFoundError",
    "IntegrityError",
    "InvalidInputError",
    "Item",
    "KeyManagerError",
    "KeyRequiredError",
    "LockedError",
    "Problem",
    "QueryPlan",
    "ReadOnlyError",
    "RepairReport",
    "Result",
    "RollbackError",
    "StorageFullError",
    "UnsupportedVersionError",
    "VerifyReport",
    "WrongKeyError",
    "__version__",
]

__version__ = "0.1.0"

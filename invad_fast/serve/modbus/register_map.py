"""The registers that a PLC and the station share. `docs/modbus.md` prints the same table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from invad_fast.inspection.part import Reason
from invad_fast.prediction import Verdict

VERSION = 1  # of this map
UNIT = 1
PLC_FIRST, PLC_COUNT = 0, 8  # what the PLC writes
STATION_FIRST, STATION_COUNT = 100, 14  # what the station writes

PLC_HEARTBEAT, ACKNOWLEDGED, FAULT_RESET, TRIGGER_NUMBER = 0, 1, 2, 3
TRIGGER_PART_ID, TRIGGER_ENCODER = 4, 6  # two registers each, the high word first
STATUS, HEARTBEAT, TRIGGER_TAKEN, RESULT_NUMBER = 100, 101, 102, 103
RESULT_PART_ID, RESULT_CODE, RESULT_REASON, RESULT_ENCODER = 104, 106, 107, 108
RESULTS_WAITING, FAULTS, RESULTS_LOST, MAP_VERSION = 110, 111, 112, 113


class Status(IntFlag):
    """Bits 0 to 3 of the register STATUS."""

    READY = 1
    BUSY = 2
    FAULT = 4
    RESULT_VALID = 8


class Fault(IntFlag):
    """Bits 0 to 4 of the register FAULTS."""

    THREE_IN_A_ROW = 1
    PLC_SILENT = 2
    RESULTS_LOST = 4
    STATION = 8
    OUT_OF_STEP = 16


class Code(IntEnum):
    """The register RESULT_CODE. Only PASS lets a part pass."""

    NONE = 0
    PASS = 1
    REJECT = 2
    NOT_INSPECTED = 3


CODE_OF = {
    Verdict.PASS: Code.PASS,
    Verdict.REJECT: Code.REJECT,
    Verdict.NOT_INSPECTED: Code.NOT_INSPECTED,
}
# Numbers stand in PLC programs: a new reason goes to the end.
REASONS = (
    Reason.LATE, Reason.OVERFLOW, Reason.CAMERA, Reason.DAMAGED_FRAME, Reason.WRONG_SIZE,
    Reason.TOO_DARK, Reason.TOO_BRIGHT, Reason.EMPTY, Reason.BLURRED, Reason.SHIFTED,
    Reason.FROZEN, Reason.UNKNOWN_PRODUCT, Reason.NOT_A_NUMBER, Reason.ENGINE_FAILED,
    Reason.STOPPED, Reason.RESTARTED, Reason.LEDGER,
)  # fmt: skip
REASON_CODE = {reason: number for number, reason in enumerate(REASONS, 1)}


@dataclass(frozen=True)
class Register:
    """One row of the table: what ``count`` registers from ``address`` on hold."""

    address: int
    count: int
    name: str
    meaning: str


REGISTERS = (
    Register(PLC_HEARTBEAT, 1, "PLC heartbeat", "changes at least once a second"),
    Register(ACKNOWLEDGED, 1, "Acknowledge", "number of the result that was taken"),
    Register(FAULT_RESET, 1, "Fault reset", "from 0 to 1: latched faults go"),
    Register(TRIGGER_NUMBER, 1, "Trigger number", "Trigger taken + 1 (after 65535: 1): a trigger"),
    Register(TRIGGER_PART_ID, 2, "Part id", "of the trigger, high word first"),
    Register(TRIGGER_ENCODER, 2, "Encoder count", "at the trigger, high word first"),
    Register(STATUS, 1, "Status", "bit 0 Ready, 1 Busy, 2 Fault, 3 Result valid"),
    Register(HEARTBEAT, 1, "Station heartbeat", "counts up ten times a second"),
    Register(TRIGGER_TAKEN, 1, "Trigger taken", "number of the trigger that was taken last"),
    Register(RESULT_NUMBER, 1, "Result number", "1 to 65535; 0 for no result"),
    Register(RESULT_PART_ID, 2, "Part id", "of the result, high word first"),
    Register(RESULT_CODE, 1, "Result code", "1 pass; 2 reject; 3 not inspected; 0 none"),
    Register(RESULT_REASON, 1, "Reason", "why the part was not inspected, below; 0 for none"),
    Register(RESULT_ENCODER, 2, "Encoder count", "as it came with the part's trigger"),
    Register(RESULTS_WAITING, 1, "Results waiting", "this one included, at most 8"),
    Register(FAULTS, 1, "Faults", "bit 0: three in a row were not inspected (latched); 1: the "
             "PLC's heartbeat is lost; 2: results were lost (latched); 3: the station cannot "
             "inspect; 4: a trigger number is out of step"),
    Register(RESULTS_LOST, 1, "Results lost", "not taken in time, modulo 65536"),
    Register(MAP_VERSION, 1, "Map version", f"{VERSION}"),
)  # fmt: skip


def following(number: int) -> int:
    """The next of 1 to 65535, which go round."""
    return number % 0xFFFF + 1


def words(value: int) -> list[int]:
    """32 bits as two registers, the high word first."""
    return [value >> 16 & 0xFFFF, value & 0xFFFF]


def number_of(registers: list[int]) -> int:
    """Two registers as 32 bits."""
    return registers[0] << 16 | registers[1]

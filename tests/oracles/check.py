"""Compares columns, and keeps what was compared, the worst difference and what was wrong."""

import numpy as np


class Check:
    """One oracle's verdict."""

    def __init__(self, name):
        self.name, self.values, self.faults = name, 0, []
        self.worst = {}  # by bound: the worst difference and where

    def fault(self, text):
        """Something is wrong."""
        self.faults.append(text)

    def equal(self, what, got, wanted):
        """Two lists agree value by value, without tolerance."""
        if len(got) != len(wanted):
            return self.fault(f"{what}: {len(got)} rows instead of {len(wanted)}")
        self.values += len(got)
        wrong = [i for i, (a, b) in enumerate(zip(got, wanted)) if a != b]
        if wrong:
            i = wrong[0]
            self.fault(f"{what}: {len(wrong)} of {len(got)} rows differ, first row {i}: {got[i]!r} instead of {wanted[i]!r}")

    def close(self, what, got, wanted, bound=1e-9, scale=None, rows=None):
        """Two lists of numbers agree within `bound` · scale (|wanted| unless given), and are null at the same rows. `rows` names the rows."""
        if len(got) != len(wanted):
            return self.fault(f"{what}: {len(got)} rows instead of {len(wanted)}")
        self.values += len(got)
        name = (lambda i: i) if rows is None else (lambda i: rows[i])
        nulls = [i for i in range(len(got)) if (got[i] is None) != (wanted[i] is None)]
        if nulls:
            i = nulls[0]
            return self.fault(
                f"{what}: {len(nulls)} of {len(got)} rows are null on one side only, first row {name(i)}: {got[i]!r} instead of {wanted[i]!r}"
            )
        here = np.array([i for i in range(len(got)) if got[i] is not None], dtype=int)
        if not len(here):
            return
        a, b = np.array([float(got[i]) for i in here]), np.array([float(wanted[i]) for i in here])
        if not np.isfinite(a).all() or not np.isfinite(b).all():
            return self.fault(f"{what}: a value is not finite")
        unit = np.abs(b) if scale is None else np.array([float(scale[i]) for i in here])
        off = np.abs(a - b)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(off == 0, 0.0, off / unit)
        at = int(np.argmax(relative))
        self.worst[bound] = max(self.worst.get(bound, (0.0, "")), (float(relative[at]), what))
        wrong = np.flatnonzero(~(relative <= bound))
        if len(wrong):
            i = here[wrong[0]]
            self.fault(
                f"{what}: {len(wrong)} of {len(got)} rows differ by more than {bound:g}, worst {relative[at]:.1e}, first row {name(i)}: {got[i]!r} instead of {wanted[i]!r}"
            )

    def line(self):
        """The verdict in a line or more."""
        verdict = "FAILED" if self.faults else "ok    "
        worst = "".join(
            f"; worst {off:.1e} of {bound:.0e}" + (f" ({where})" if off else "") for bound, (off, where) in sorted(self.worst.items())
        )
        lines = [f"{verdict} {self.name}: {self.values:,} values{worst or '; all equal'}"]
        lines += [f"         {fault}" for fault in self.faults[:6]]
        if len(self.faults) > 6:
            lines.append(f"         and {len(self.faults) - 6} more")
        return "\n".join(lines)

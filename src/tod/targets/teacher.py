"""The teacher and distillation tilts: Table 1 row 6."""

from typing import Literal, Self

from pydantic import model_validator

from tod.targets.anchor import PolicyName
from tod.targets.target import ByEta, Target, Tilt

__all__ = ["Teacher"]


class Teacher(ByEta):
    """A target driven by a teacher's log-probs, in three forms that are three distributions.

    =========== =============================== ================================================
    form        b and U                         q*
    =========== =============================== ================================================
    margin      b = student, U = log π_T/b      ∝ b^{1−η}·π_T^η; η = 1 is exactly the teacher
    literal     b = student, U = log π_T        ∝ b·π_T^η; at η = 1 *sharper* than both
    anchored    b = π_T, U = a reward           ∝ π_T·exp(ηr); η = 0 is exactly the teacher
    =========== =============================== ================================================

    min KL(π‖π_T) + λ·KL(π‖b) is the margin form with η = 1/(1 + λ). Sequence-level tilts are not
    products of per-token tilts.

    Source: Table 1 row 6; docs/equations.md B.5 (equation teacher-target)
    """

    kind: Literal["teacher"] = "teacher"
    form: Literal["margin", "literal", "anchored"] = "margin"
    """How the teacher enters."""
    student: PolicyName = "old"
    """The anchor b of the forms ``margin`` and ``literal``."""
    utility: str | None = None
    """Name of the reward, for the form ``anchored`` alone."""

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        if (self.form == "anchored") != (self.utility is not None):
            raise ValueError("form anchored tilts the teacher by a reward, and no other form does")
        if self.student == "teacher":
            raise ValueError("the student cannot be the teacher: nothing would be tilted")
        return self

    @property
    def target(self) -> Target:
        """The tilt; what has exponent 0 is left out."""
        if self.utility is not None:
            tilt = Tilt(utility=self.utility, eta=self.eta)
            return Target(anchor={"teacher": 1.0}, tilts=(tilt,))
        base = 1.0 - self.eta if self.form == "margin" else 1.0
        exponents: dict[PolicyName, float] = {self.student: base, "teacher": self.eta}
        return Target(anchor={name: rho for name, rho in exponents.items() if rho != 0.0})

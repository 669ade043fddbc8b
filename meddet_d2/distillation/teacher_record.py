"""Which teachers a run began with."""


class TeacherRecord:
    """The checksums of the teachers' files, as a part of a checkpoint: a resume with other teachers is refused.

    Args:
        checksums: of each teacher its file's SHA-256, by the teacher's name.
        accept_changed: take the teachers as they are now.
    """

    def __init__(self, checksums: dict[str, str], accept_changed: bool = False):
        self.checksums = checksums
        self.accept_changed = accept_changed

    def state_dict(self) -> dict[str, str]:
        return dict(self.checksums)

    def load_state_dict(self, state_dict: dict[str, str]) -> None:
        """Compare.

        Raises:
            ValueError: a teacher's file is another than the one that the run began with.
        """
        changed = sorted(
            name
            for name in self.checksums.keys() | state_dict.keys()
            if self.checksums.get(name) != state_dict.get(name)
        )
        if changed and not self.accept_changed:
            then, now = (record.get(changed[0], "none")[:12] for record in (state_dict, self.checksums))
            raise ValueError(
                f"Teacher {changed[0]} is not the one that this run began with (SHA-256 {then}... then, {now}... now); "
                "put its file back, or accept the new one with DISTILL.TEACHERS.ACCEPT_CHANGED True."
            )

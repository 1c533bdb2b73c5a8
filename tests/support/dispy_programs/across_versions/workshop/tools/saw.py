from .hammer import Tool

TEETH = 32


class Saw(Tool):
    def __init__(self, parts):
        self.parts = parts

    def halves(self):
        from .. import PLACES

        return [cut("board", self.parts), PLACES, self.power]


def cut(what, parts):
    return f"{what}/{parts}"

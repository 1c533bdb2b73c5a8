"""A package of the program."""

from .tools import hammer

PLACES = 4


class Bench:
    def __init__(self, name):
        self.name = name

    def use(self, times):
        from .tools import saw
        from .tools.saw import cut as cutting

        return [self.name, hammer.hit(times), saw.TEETH, cutting(self.name, PLACES)]

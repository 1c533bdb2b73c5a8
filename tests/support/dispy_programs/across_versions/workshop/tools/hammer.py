from functools import cache


class Tool:
    power = 10

    def hit(self, times=1):
        return hit(times) + self.power


class Hammer(Tool):
    def hit(self, times=1):
        return super().hit(times) + 1


@cache
def hit(times):
    return "bang" * times if times > 5 else 100 * times

"""Write the tables beside this file, which are made up: `python tests/data/make.py` gives the same bytes each time.

They have the columns and the oddities of the data sets of the pipelines `titanic` and `takeoff`. What a model can reach
on them is known, because the rule that they follow is.
"""

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent

PASSENGERS = 800
FLIPPED_SHARE = 0.08  # of those whose survival is not what the rule says: accuracy ends at about 0.92
OUTSIDE_THE_SCHEMA = {100: {"Age": "340"}, 200: {"Pclass": "4"}, 300: {"Embarked": "X"}, 400: {"Survived": "yes"}}
SURNAMES = ("Alder", "Birch", "Cedar", "D'Elm", "Fir-Ash", "Hazel", "Maple", "Oak", "van der Pine", "Ängström")
FIRST_NAMES = {
    "male": ("Adam", 'Ben "Red"', "Carl (Charles)", "Dan", "Émile"),
    "female": ("Ada", 'Bea "Bee"', "Cora (Corinne Hill)", "Dora", "Eve"),
}

RUNS = {"train": 300, "test": 80}
NOISE_METRES = 20.0


def survives(sex: str, passenger_class: int, age: float) -> bool:
    """The rule: women but those of third class, and children of all classes."""
    return (sex == "female" and passenger_class < 3) or age < 12


def passengers(dice: random.Random) -> Iterable[dict[str, object]]:
    for number in range(1, PASSENGERS + 1):
        sex = dice.choice(("male", "female"))
        passenger_class = dice.choice((1, 2, 3))
        age = dice.choice(range(1, 60))
        survived = survives(sex, passenger_class, age) != (dice.random() < FLIPPED_SHARE)
        title = "Mr" if sex == "male" else "Mrs"
        if age < 12:
            title = "Master" if sex == "male" else "Miss"
        row = {
            "PassengerId": number,
            "Survived": int(survived),
            "Pclass": passenger_class,
            "Name": f"{dice.choice(SURNAMES)}, {title}. {dice.choice(FIRST_NAMES[sex])}",
            "Sex": sex,
            "Age": "" if dice.random() < 0.2 else age,
            "SibSp": dice.choice((0, 0, 0, 1, 2)),
            "Parch": dice.choice((0, 0, 0, 1)),
            "Ticket": f"A/5 {dice.randrange(10_000, 99_999)}",
            "Fare": round((10, 20, 80)[3 - passenger_class] * (0.5 + dice.random()), 4),
            "Cabin": f"{dice.choice('ABCDE')}{dice.randrange(1, 120)}" if dice.random() < 0.2 else "",
            "Embarked": "" if number % 250 == 0 else dice.choice("CQS"),
        }
        yield row | OUTSIDE_THE_SCHEMA.get(number, {})


def distance_metres(speed_kmh: float, weight_tons: float) -> float:
    """How far a weight rolls until it has the speed, under a thrust of 800 kN less a friction of 2 % of its weight."""
    acceleration = 800 / weight_tons - 0.02 * 9.81
    return (speed_kmh / 3.6) ** 2 / (2 * acceleration)


def takeoffs(dice: random.Random, count: int, *, noise_metres: float) -> Iterable[tuple[int, int, int]]:
    for _ in range(count):
        speed, weight = dice.randrange(290, 321), dice.randrange(210, 301)
        yield speed, weight, round(distance_metres(speed, weight) + dice.gauss(0, noise_metres))


def write(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    file.parent.mkdir(exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)


def main(folder: Path = FOLDER) -> None:
    dice = random.Random(1)
    rows = [*passengers(dice)]
    write(folder / "titanic" / "train.csv", [*rows[0]], [[*row.values()] for row in rows])
    inputs, output = ("#Takeoff_Speed(km/h)", "Weight(ton)"), ("Distance(m)",)
    train = takeoffs(dice, RUNS["train"], noise_metres=NOISE_METRES)
    write(folder / "takeoff" / "trainset.csv", (*inputs, *output), train)
    test = [*takeoffs(dice, RUNS["test"], noise_metres=0)]
    write(folder / "takeoff" / "testset_x.csv", inputs, [row[:2] for row in test])
    write(folder / "takeoff" / "testset_y.csv", output, [row[2:] for row in test])


if __name__ == "__main__":
    main()

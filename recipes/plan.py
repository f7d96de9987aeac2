"""What a run would take, before it is started.  accelerate launch recipes/plan.py mae --dataset path/to/images"""

from hfssl.commands.plan_config import parse_plan


def main() -> None:
    run = parse_plan()
    from hfssl.commands.plan import plan  # heavy imports after the flags are known to be good

    plan(run)


if __name__ == "__main__":
    main()

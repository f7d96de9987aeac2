"""`python -m hfssl`, and `accelerate launch -m hfssl` for many processes."""

from hfssl.commands.command_line import main

if __name__ == "__main__":
    main()

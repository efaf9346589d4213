"""What all tables have in common."""

from sqlalchemy import DateTime
from sqlalchemy.orm import DeclarativeBase

TIME = DateTime(timezone=True)


class Base(DeclarativeBase):
    """Declarative base of all tables."""

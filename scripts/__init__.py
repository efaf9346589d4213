"""Programs for developers: training the demo models, measuring, breaking things on purpose."""

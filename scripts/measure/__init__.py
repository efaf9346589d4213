"""`make measure`: whether the code keeps to its own measures."""

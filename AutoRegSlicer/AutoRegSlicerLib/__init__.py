"""What the AutoReg module does, apart from the module file: scene logic, jobs, environment, panels."""

"""Between the scene and a job folder: checks, exports, results, measures, cases, scripts."""

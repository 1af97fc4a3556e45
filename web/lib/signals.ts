import { PrebakeError } from "./errors.js";

/** Linux's signals that people send. */
const SIGNALS: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  KILL: 9,
  USR1: 10,
  USR2: 12,
  ALRM: 14,
  TERM: 15,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  WINCH: 28,
};

/** The number of a signal. */
export function signalNumber(signal: string | number): number {
  if (typeof signal === "number") return signal;
  const number = SIGNALS[signal.toUpperCase().replace(/^SIG/, "")];
  if (number === undefined) throw new PrebakeError("wrong-option", `there is no signal ${signal}; use one of ${Object.keys(SIGNALS).join(", ")}`);
  return number;
}

// What the page remembers of the user's choices. A browser that keeps nothing for the page throws when it is asked: then nothing is remembered.

/** What was remembered; null if there is nothing. */
export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // The choice holds until the page is left.
  }
}

/** Forgets what is remembered by keys that `isOld`. */
export function forgetRemembered(isOld: (key: string) => boolean): void {
  try {
    Object.keys(localStorage).filter(isOld).forEach((key) => localStorage.removeItem(key));
  } catch {
    // There is nothing.
  }
}

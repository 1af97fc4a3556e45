// Where this runs. Node.js is reached by names that bundlers do not follow.

/** Whether this is Node.js rather than a browser. */
export const isNode = typeof process === "object" && process.versions?.node !== undefined;

/** A module of Node.js. */
export async function nodeModule<T>(name: string): Promise<T> {
  return (await import(/* @vite-ignore */ `node:${name}`)) as T;
}

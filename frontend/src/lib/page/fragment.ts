/** What the address names after its #. Somebody may have cut it in the middle of a character. */
export function named(): string {
  const given = location.hash.slice(1);
  try {
    return decodeURIComponent(given);
  } catch {
    return given;
  }
}

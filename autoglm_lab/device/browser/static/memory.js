// Writes the last `length` actions for a prompt, as `write_memory` in runtime/prompt.py: "Tap, Swipe=, Home".

// `steps` are [name, whether the screen changed]; a memory of length 1 is the bare name.
export function writeMemory(steps, length) {
  const mark = (changed) => (length > 1 && !changed ? "=" : "");
  return steps
    .slice(-length)
    .filter(([name]) => name)
    .map(([name, changed]) => name + mark(changed))
    .join(", ");
}

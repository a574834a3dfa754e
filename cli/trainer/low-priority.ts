import { readdir, writeFile } from 'node:fs/promises'
import { constants, setPriority } from 'node:os'

const lowest = constants.priority.PRIORITY_LOW

/**
 * Lets every other process go before this one. On Linux a priority is each thread's own, and counts only among processes of
 * one session where the kernel groups sessions (`sched_autogroup_enabled`): there the session's own priority is lowered too.
 */
export async function takeLowestPriority(): Promise<void> {
  setPriority(lowest)
  if (process.platform !== 'linux') return
  for (const thread of await readdir('/proc/self/task')) setPriority(Number(thread), lowest)
  // A kernel that does not group sessions has no such file.
  await writeFile('/proc/self/autogroup', String(lowest)).catch(() => {})
}

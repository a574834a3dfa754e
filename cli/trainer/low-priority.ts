import { readdir, readFile, writeFile } from 'node:fs/promises'
import { setPriority } from 'node:os'

/**
 * Lets other processes go before this one: 0 is the usual priority, 19 the lowest. On Linux a priority is each thread's own,
 * and counts only among processes of one session where the kernel groups sessions (`sched_autogroup_enabled`): there a
 * session of its own is lowered too.
 */
export async function takePriority(nice: number): Promise<void> {
  setPriority(nice)
  if (process.platform !== 'linux') return
  for (const thread of await readdir('/proc/self/task'))
    try {
      setPriority(Number(thread), nice)
    } catch {
      // The thread has ended meanwhile.
    }
  // The session of a terminal is not this process's to change. A kernel that does not group sessions has no such file.
  if (await hasOwnSession()) await writeFile('/proc/self/autogroup', String(nice)).catch(() => {})
}

/** Whether this process leads its session, as one that is started detached does. */
async function hasOwnSession(): Promise<boolean> {
  const stat = await readFile('/proc/self/stat', 'utf8')
  // The sixth field; the second, the name, may hold spaces.
  const session = stat.slice(stat.lastIndexOf(')')).split(' ')[4]
  return Number(session) === process.pid
}

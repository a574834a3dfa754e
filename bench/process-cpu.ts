import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** The unit of the times in /proc (`getconf CLK_TCK`). */
const ticksPerSecond = 100

/** The worker's process: this process's child of that name. */
export function workerdProcess(): number {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = statOf(Number(entry))
    if (stat?.name === 'workerd' && stat.parent === process.pid) return Number(entry)
  }
  throw new Error('workerd is no child of this process')
}

/** CPU time that a process has used, user and system. */
export function cpuSeconds(pid: number): number {
  const stat = statOf(pid)
  if (stat === undefined) throw new Error('workerd is gone')
  return stat.ticks / ticksPerSecond
}

/**
 * CPU time that a process and all that it started have used so far, without those that have ended; undefined where the system
 * has no /proc.
 */
export function treeCpuSeconds(root: number): number | undefined {
  if (!existsSync('/proc/self/stat')) return undefined
  const children = new Map<number, number[]>()
  for (const entry of readdirSync('/proc')) {
    const stat = /^\d+$/.test(entry) ? statOf(Number(entry)) : undefined
    if (stat !== undefined) children.set(stat.parent, [...(children.get(stat.parent) ?? []), Number(entry)])
  }
  const ticks = (pid: number): number =>
    (statOf(pid)?.ticks ?? 0) + (children.get(pid) ?? []).reduce((sum, child) => sum + ticks(child), 0)
  return ticks(root) / ticksPerSecond
}

/** Name, parent and CPU time of a process (proc_pid_stat(5)). */
function statOf(pid: number): { name: string; parent: number; ticks: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const end = text.lastIndexOf(')')
    const fields = text.slice(end + 2).split(' ')
    return {
      name: text.slice(text.indexOf('(') + 1, end),
      parent: Number(fields[1]),
      ticks: Number(fields[11]) + Number(fields[12]),
    }
  } catch {
    return undefined
  }
}

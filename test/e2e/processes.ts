import { readdir, readFile } from 'node:fs/promises'

/** Reads the processes of this machine from /proc (Linux). */

interface ProcessState {
  readonly pid: number
  readonly parent: number
  readonly zombie: boolean
}

async function stateOf(pid: number): Promise<ProcessState | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  const [state, parent] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  return state === undefined ? undefined : { pid, parent: Number(parent), zombie: state === 'Z' }
}

async function allProcesses(): Promise<readonly ProcessState[]> {
  const names = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))
  const states = await Promise.all(names.map((name) => stateOf(Number(name))))
  return states.filter((state) => state !== undefined)
}

/** Every process that `pid` started, and those that they started. */
export async function descendants(pid: number): Promise<readonly number[]> {
  const all = await allProcesses()
  const of = (parent: number): number[] =>
    all.filter((state) => state.parent === parent).flatMap((child) => [child.pid, ...of(child.pid)])
  return of(pid)
}

export async function isRunning(pid: number): Promise<boolean> {
  const state = await stateOf(pid)
  return state !== undefined && !state.zombie
}

/** The command line of a process, words separated by spaces. */
export async function commandOf(pid: number): Promise<string> {
  const words = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return words.replaceAll('\0', ' ').trim()
}

/** The environment that a process was started with, as `NAME=value`. */
export async function environmentOf(pid: number): Promise<readonly string[]> {
  const words = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
  return words.split('\0')
}

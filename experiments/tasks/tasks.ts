import { banking77 } from './banking77.ts'
import { e2e, e2eSystem } from './e2e.ts'
import { orders } from './orders.ts'
import { sst2 } from './sst2.ts'
import type { Task } from './task.ts'
import { trec } from './trec.ts'

/** Every task, by the name that the command takes, in the order of the tables. A new one is one row here. */
export const tasks = {
  sst2,
  trec,
  e2e,
  'e2e-system': e2eSystem,
  banking77,
  orders,
} as const satisfies Record<string, Task>
export type TaskName = keyof typeof tasks

export function isTaskName(name: string): name is TaskName {
  return Object.hasOwn(tasks, name)
}

import type { Context } from 'hono'
import type { App } from '../request-context.ts'
import type { Fleet } from './fleet-view.ts'

/** The fleet as this isolate sees it; asks the registry only when its snapshot is due. */
export function currentFleet(c: Pick<Context<App>, 'get' | 'executionCtx'>): Promise<Fleet> {
  const { fleet, registry } = c.get('platform')
  return fleet.current({
    load: (known) => registry().snapshot(known),
    background: (work) => c.executionCtx.waitUntil(work),
  })
}

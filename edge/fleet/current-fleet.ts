import type { Platform } from '../platform.ts'
import type { Fleet } from './fleet-view.ts'

interface FleetReader {
  readonly platform: Pick<Platform, 'fleet' | 'registry'>
  /** Keeps work alive that outlasts the request. */
  readonly background: (work: Promise<unknown>) => void
}

/** The fleet as this isolate sees it; asks the registry only when its snapshot is due. */
export function currentFleet({ background, platform: { fleet, registry } }: FleetReader): Promise<Fleet> {
  return fleet.current({ load: (known) => registry().snapshot(known), background })
}

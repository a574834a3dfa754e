import type { Operation } from './operation.ts'
import { adminOperations } from './operations/admin.ts'
import { deploymentOperations } from './operations/deployments.ts'
import { generationOperations } from './operations/generation.ts'
import { serviceOperations } from './operations/service.ts'
import { usageOperations } from './operations/usage.ts'

/** Every route of the edge. A test holds this list and the app's routes to each other. */
export const operations: readonly Operation[] = [
  ...generationOperations,
  ...deploymentOperations,
  ...usageOperations,
  ...adminOperations,
  ...serviceOperations,
]

import { adminOperations } from './admin-operations.ts'
import { deploymentOperations } from './deployments-operations.ts'
import { fineTuningOperations } from './fine-tuning-operations.ts'
import { generationOperations } from './generation-operations.ts'
import { messagesOperations } from './messages-operations.ts'
import type { Operation } from './operation.ts'
import { responsesOperations } from './responses-operations.ts'
import { serviceOperations } from './service-operations.ts'
import { trainerOperations } from './trainers-operations.ts'
import { usageOperations } from './usage-operations.ts'

/** Every route of the edge. A test holds this list and the app's routes to each other. */
export const operations: readonly Operation[] = [
  ...generationOperations,
  ...responsesOperations,
  ...messagesOperations,
  ...deploymentOperations,
  ...fineTuningOperations,
  ...usageOperations,
  ...adminOperations,
  ...trainerOperations,
  ...serviceOperations,
]

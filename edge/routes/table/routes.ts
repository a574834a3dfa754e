import { adminRoutes } from './admin.ts'
import { batchRoutes } from './batches.ts'
import { deploymentRoutes } from './deployments.ts'
import { fineTuningRoutes } from './fine-tuning.ts'
import { generationRoutes } from './generation.ts'
import { messagesRoutes } from './messages.ts'
import { responsesRoutes } from './responses.ts'
import type { Route } from './route.ts'
import { serviceRoutes } from './service.ts'
import { tokenizeRoutes } from './tokenize.ts'
import { trainerRoutes } from './trainers.ts'
import { usageRoutes } from './usage.ts'

/** Every route of the edge, in the order of the document. */
export const routes: readonly Route[] = [
  ...generationRoutes,
  ...responsesRoutes,
  ...messagesRoutes,
  ...tokenizeRoutes,
  ...deploymentRoutes,
  ...batchRoutes,
  ...fineTuningRoutes,
  ...usageRoutes,
  ...adminRoutes,
  ...trainerRoutes,
  ...serviceRoutes(() => routes),
]

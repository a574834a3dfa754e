import { app } from './app.ts'

export { AuditLog } from './audit/audit-log.ts'
export { TenantBudget } from './budgets/tenant-budget.ts'
export { TenantDirectory } from './directory/directory.ts'
export { ChangeFeed } from './feed/change-feed.ts'
export { TenantTraining } from './fine-tuning/tenant-training.ts'
export { TrainingQueue } from './fine-tuning/training-queue.ts'
export { NodeRegistry } from './fleet/node-registry.ts'
export { IdempotentCall } from './http/idempotent-call.ts'
export { TenantResponses } from './responses/tenant-responses.ts'
export { TenantShadows } from './shadows/tenant-shadows.ts'
export { TenantBatches } from './tenant-batches.ts'

export default { fetch: app.fetch } satisfies ExportedHandler<Parameters<typeof app.fetch>[1]>

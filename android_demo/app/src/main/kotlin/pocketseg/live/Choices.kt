package pocketseg.live

import pocketseg.model.Delegate

/** An entry of a picker; [refusal] says why it cannot be chosen, null when it can. */
data class Choice<T>(val value: T, val label: String, val refusal: String? = null)

enum class GpuSupport(val refusal: String?) {
    AVAILABLE(null),
    NOT_IN_BUILD("This build of the app holds no GPU delegate."),
    NOT_ON_PHONE("The GPU delegate does not support this phone."),
}

fun delegateChoices(gpu: GpuSupport) = listOf(
    Choice(Delegate.CPU, "CPU (XNNPACK)"),
    Choice(Delegate.GPU, "GPU, compared with the CPU first", gpu.refusal),
)

fun threadChoices(cores: Int, delegate: Delegate) = listOf(1, 2, 3, 4, 6, 8).map { threads ->
    Choice(
        threads, if (threads == 1) "1 thread" else "$threads threads",
        when {
            threads > cores -> "This phone has $cores cores."
            delegate == Delegate.GPU && threads > 1 -> "The GPU does the work; threads matter on the CPU alone."
            else -> null
        },
    )
}

/** A model's name or why it cannot be used; [taken] is shown on the other half of a split screen. */
fun modelChoices(models: List<Pair<String, String?>>, taken: String?) = models.map { (name, problem) ->
    Choice(name, name, problem ?: if (name == taken) "It is already shown on the left." else null)
}

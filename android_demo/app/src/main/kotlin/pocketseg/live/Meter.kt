package pocketseg.live

/** The last [capacity] measurements, in nanoseconds. */
class Percentiles(private val capacity: Int = 120) {
    private val values = LongArray(capacity)
    private val sorted = LongArray(capacity)
    private var added = 0L
    private val count get() = minOf(added, capacity.toLong()).toInt()

    fun add(nanoseconds: Long) {
        values[(added++ % capacity).toInt()] = nanoseconds
    }

    fun clear() {
        added = 0
    }

    /** In milliseconds, linear between neighbours as numpy does; 0 without measurements. [share] is 0-1. */
    fun milliseconds(share: Double): Double {
        if (count == 0) return 0.0
        System.arraycopy(values, 0, sorted, 0, count)
        java.util.Arrays.sort(sorted, 0, count)
        val place = share * (count - 1)
        val low = place.toInt()
        val high = minOf(low + 1, count - 1)
        return (sorted[low] + (place - low) * (sorted[high] - sorted[low])) / 1e6
    }
}

/** A function type would box each reading, 24 bytes a time. */
fun interface Clock {
    fun nanoseconds(): Long

    companion object {
        val SYSTEM = Clock(System::nanoTime)
    }
}

enum class Stage { PREPROCESSING, INFERENCE, POSTPROCESSING, DRAWING }

data class StageTime(val stage: Stage, val p50: Double, val p90: Double)

/** What the engineer's overlay shows; times in milliseconds. */
data class Report(val stages: List<StageTime>, val framesPerSecond: Double, val frames: Long, val dropped: Long)

/** Times of the stages of a frame. Marks are taken on the inference thread; nothing is allocated but by [report]. */
class Meter(private val clock: Clock = Clock.SYSTEM) {
    private val stages = Array(Stage.entries.size) { Percentiles() }
    private val spent = LongArray(Stage.entries.size)
    private val intervals = Percentiles()
    private var mark = 0L
    private var previous = 0L
    private var frames = 0L

    fun reset() {
        stages.forEach { it.clear() }
        intervals.clear()
        frames = 0
    }

    fun begin() {
        spent.fill(0)
        mark = clock.nanoseconds()
    }

    /** What was done since the last mark was [stage]; a stage may come more than once in a frame. */
    fun end(stage: Stage) {
        val now = clock.nanoseconds()
        spent[stage.ordinal] += now - mark
        mark = now
    }

    fun finish() {
        for (i in spent.indices) stages[i].add(spent[i])
        if (frames++ > 0) intervals.add(mark - previous)
        previous = mark
    }

    fun report(dropped: Long): Report {
        val interval = intervals.milliseconds(0.5)
        return Report(
            Stage.entries.map { StageTime(it, stages[it.ordinal].milliseconds(0.5), stages[it.ordinal].milliseconds(0.9)) },
            if (interval > 0) 1000 / interval else 0.0, frames, dropped,
        )
    }
}

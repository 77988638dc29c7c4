package pocketseg.demo

import android.content.Context
import android.util.AttributeSet
import android.view.View
import android.view.ViewGroup
import android.widget.ScrollView

/**
 * Children in cells of one size: as many side by side as their words need, the rest below, evenly. An invisible one keeps
 * its cell only where all are in one row.
 */
class EvenRow(context: Context, attributes: AttributeSet?) : ViewGroup(context, attributes) {
    private val there get() = (0 until childCount).map(::getChildAt).filter { it.visibility != View.GONE }
    private var shown = emptyList<View>()
    private var columns = 1
    private var cellHeight = 0

    override fun onMeasure(widthSpec: Int, heightSpec: Int) {
        val room = MeasureSpec.getSize(widthSpec) - paddingLeft - paddingRight
        var children = there
        if (children.isEmpty()) return setMeasuredDimension(MeasureSpec.getSize(widthSpec), 0)
        val free = MeasureSpec.makeMeasureSpec(0, MeasureSpec.UNSPECIFIED)
        for (child in children) measureChild(child, free, free)
        val widest = children.maxOf { it.measuredWidth }
        if (room / maxOf(1, widest) < children.size) children = children.filter { it.visibility == View.VISIBLE }
        shown = children
        val fitting = (room / maxOf(1, widest)).coerceIn(1, children.size)
        val rows = (children.size + fitting - 1) / fitting
        columns = (children.size + rows - 1) / rows
        val cell = room / columns
        cellHeight = children.maxOf { it.measuredHeight }
        for (child in children) {
            val fixed = child.layoutParams.width >= 0 // a round button stays round
            val width = MeasureSpec.makeMeasureSpec(if (fixed) minOf(child.layoutParams.width, cell) else cell, MeasureSpec.EXACTLY)
            child.measure(width, MeasureSpec.makeMeasureSpec(if (fixed) child.layoutParams.height else cellHeight, MeasureSpec.EXACTLY))
        }
        setMeasuredDimension(MeasureSpec.getSize(widthSpec), rows * cellHeight + paddingTop + paddingBottom)
    }

    override fun onLayout(changed: Boolean, left: Int, top: Int, right: Int, bottom: Int) {
        val children = shown
        val cell = (width - paddingLeft - paddingRight) / columns
        for ((i, child) in children.withIndex()) {
            val inRow = minOf(columns, children.size - i / columns * columns)
            val indent = (columns - inRow) * cell / 2
            val column = if (layoutDirection == View.LAYOUT_DIRECTION_RTL) inRow - 1 - i % columns else i % columns
            val x = paddingLeft + indent + column * cell + (cell - child.measuredWidth) / 2
            val y = paddingTop + i / columns * cellHeight + (cellHeight - child.measuredHeight) / 2
            child.layout(x, y, x + child.measuredWidth, y + child.measuredHeight)
        }
    }
}

/** Scrolls rather than take more than two fifths of the screen from the picture. */
class BoundedScroll(context: Context, attributes: AttributeSet?) : ScrollView(context, attributes) {
    override fun onMeasure(widthSpec: Int, heightSpec: Int) {
        val most = resources.displayMetrics.heightPixels * 2 / 5
        super.onMeasure(widthSpec, MeasureSpec.makeMeasureSpec(most, MeasureSpec.AT_MOST))
    }
}
